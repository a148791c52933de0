//go:build ignore

/*
 * Prints what shm.h says of the values of a segment. The argument is the segment's path.
 * Each line that it reads is the name and the format of a value, in hexadecimal with a
 * dash before, its access, and the largest size of which the contents are printed. For
 * each it prints a line: the kind, count and offset of the value, and its bytes, or a
 * dash if there are none to compare; or "error" and a text.
 */
#include "shm.h"

static char *text_of(char *hex)
{
	size_t n = strlen(++hex) / 2;
	char *text = malloc(n + 1);
	for (size_t i = 0; text != NULL && i < n; i++) {
		unsigned int c;
		sscanf(hex + 2 * i, "%2x", &c);
		text[i] = (char)c;
	}
	if (text == NULL) exit(1);
	text[n] = 0;
	return text;
}

static int fail(int err)
{
	printf("error %s\n", shm_strerror(err));
	return err;
}

/* Copies what is at v to b, which has room for the whole value. Returns the length, 0 if
 * there is nothing to compare, or an error. */
static int64_t contents(const shm_value *v, unsigned char *b)
{
	int err = 0;
	shm_value row;
	if (v->kind == SHM_MUTEX || v->kind == SHM_RING) return 0;
	if (v->kind == SHM_COUNTER || v->kind == SHM_GAUGE) {
		int64_t i;
		uint64_t u;
		double d;
		const void *from = v->code == 'q' ? (void *)&i : v->code == 'Q' ? (void *)&u : (void *)&d;
		bool counter = v->kind == SHM_COUNTER;
		if (v->code == 'q') err = counter ? shm_counted_i64(v, &i) : shm_load_gauge_i64(v, &i);
		else if (v->code == 'Q') err = counter ? shm_counted_u64(v, &u) : shm_load_gauge_u64(v, &u);
		else err = counter ? shm_counted_f64(v, &d) : shm_load_gauge_f64(v, &d);
		if (err == 0) memcpy(b, from, 8);
		return err != 0 ? err : 8;
	}
	if (v->kind == SHM_HISTOGRAM) {
		memcpy(b, shm_bounds(v), 8 * v->count);
		uint64_t *counts = calloc(v->count + 1, 8);
		double sum;
		if (counts == NULL) return -ENOMEM;
		err = shm_load_histogram(v, counts, &sum);
		memcpy(b + 8 * v->count, counts, 8 * (v->count + 1));
		memcpy(b + 8 * (2 * v->count + 1), &sum, 8);
		free(counts);
		return err != 0 ? err : (int64_t)(8 * (2 * v->count + 2));
	}
	if (v->access == SHM_PUBLISHED && v->kind == SHM_CHARS) {
		err = shm_read_text(v, (char *)b, v->count + 1);
		return err < 0 ? err : (int64_t)v->count;
	}
	if (v->access == SHM_PUBLISHED && v->kind == SHM_ARRAY) {
		for (uint64_t i = 0; err == 0 && i < v->count; i++) {
			err = shm_row(v, i, &row);
			if (err == 0) err = shm_read(&row, b + i * v->size, v->size);
		}
		return err != 0 ? err : (int64_t)(v->count * v->size);
	}
	if (v->access == SHM_PUBLISHED) {
		err = shm_read(v, b, v->size);
		return err != 0 ? err : (int64_t)v->size;
	}
	uint64_t n = v->size * (v->count == 0 ? 1 : v->count);
	memcpy(b, v->data, n);
	return (int64_t)n;
}

int main(int argc, char **argv)
{
	if (argc != 2) return 2;
	int fd = open(argv[1], O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	if (fd < 0) return fail(-errno) != 0;
	shm_options options = {.read_only = true};
	shm_segment *seg;
	int err = shm_attach_fd(&seg, fd, &options);
	if (err != 0) return fail(err) != 0;
	puts("attached");
	char *line = NULL;
	for (size_t room = 0; getline(&line, &room, stdin) > 0;) {
		char *save, *name = strtok_r(line, " ", &save), *format = strtok_r(NULL, " ", &save);
		char *access = strtok_r(NULL, " ", &save), *limit = strtok_r(NULL, " \n", &save);
		if (limit == NULL) return 2;
		shm_value v;
		name = text_of(name);
		format = text_of(format);
		err = shm_find(seg, name, &v);
		if (err == 0 && format[0] != 0) err = shm_is(&v, (enum shm_access)atoi(access), format);
		if (err != 0) {
			fail(err);
		} else {
			uint64_t room = v.capacity + v.size * (v.count + 2) + 8 * (2 * v.count + 2);
			unsigned char *b = room <= strtoull(limit, NULL, 10) ? calloc(1, room) : NULL;
			int64_t n = b == NULL ? 0 : contents(&v, b);
			if (n < 0) {
				fail((int)n);
			} else {
				/* The handles of locks and tables begin with the first cell. */
				bool cells = v.kind == SHM_MUTEX || (v.kind == SHM_ARRAY && v.access == SHM_PUBLISHED);
				printf("%d %llu %lld -", v.kind, (unsigned long long)v.count, cells ? -1LL : (long long)(v.data - seg->mem));
				for (int64_t i = 0; i < n; i++) printf("%02x", b[i]);
				putchar('\n');
			}
			free(b);
		}
		free(name);
		free(format);
	}
	free(line);
	shm_detach(seg);
	return 0;
}
