/*
 * Says of pairs of formats whether a program with the first may attach to a struct with the
 * second or already has that type, and where both end, as c/shm.h sees it. Each line of
 * standard input is two formats with a space between them.
 */
#include "shm.h"

int main(void)
{
	static char a[SHM_FORMAT_MAX_ + 1], b[SHM_FORMAT_MAX_ + 1];
	while (scanf("%32768s %32768s", a, b) == 2) {
		uint64_t size, end_a, end_b;
		size_t an = strlen(a), bn = strlen(b);
		if (!shm_parse_(a, an, &size, &end_a) || !shm_parse_(b, bn, &size, &end_b))
			return 1;
		int extends = strcmp(a, b) == 0 || shm_extends_(a, an, b, bn);
		printf("%d %llu %llu\n", extends, (unsigned long long)end_a, (unsigned long long)end_b);
	}
	return 0;
}
