/* Reads formats, each in a line of hexadecimal digits, and prints for each whether a
 * segment may have it, and the size of the type up to its last field and in all: "1 5 8",
 * or "0 0 0". */
#include "shm.h"

int main(void)
{
	static char line[4 * SHM_FORMAT_MAX_];
	while (fgets(line, sizeof line, stdin) != NULL) {
		size_t n = strspn(line, "0123456789abcdef") / 2;
		/* Just as long as the format, so that a sanitizer notices a read behind it. */
		char *format = (char *)malloc(n);
		uint64_t size, end;
		if (format == NULL && n > 0)
			return 1;
		for (size_t i = 0; i < n; i++) {
			unsigned byte;
			sscanf(line + 2 * i, "%2x", &byte);
			format[i] = (char)byte;
		}
		bool ok = shm_parse_(format, n, &size, &end);
		printf("%d %llu %llu\n", ok, ok ? (unsigned long long)end : 0ULL, ok ? (unsigned long long)size : 0ULL);
		free(format);
	}
	return 0;
}
