/*
 * Lists what files hold, as c/shm.h reads them. Each line of standard input is a path. For
 * each it prints, with tabs between the parts:
 *
 *     ok | refused: CLASS
 *     value NAME KIND ACCESS COUNT FORMAT SIZE       for each value, oldest first
 *     end | error: CLASS                             if the file was not refused
 *
 * KIND and ACCESS are the numbers of docs/FORMAT.md, SIZE is the bytes of an element. A
 * struct that has grown has the newest format. CLASS is format, version, insecure, full or
 * system. It attaches for reading only, and changes nothing.
 */
#include "shm.h"

static const char *class_of(int err)
{
	switch (err) {
	case SHM_EFORMAT: return "format";
	case SHM_EVERSION: return "version";
	case SHM_EINSECURE: return "insecure";
	case SHM_EFULL: return "full";
	}
	return "system";
}

/* Replaces a struct's record by that of its last growth. */
static int newest(shm_segment *s, struct shm_record_ *r)
{
	struct shm_record_ last;
	char name[SHM_NAME_MAX_ + 1];
	if (!shm_grows_(&r->shape))
		return 0;
	memcpy(name, r->shape.name, r->shape.name_length);
	name[r->shape.name_length] = 0;
	int err = shm_search_(s, name, &last);
	if (err != 0)
		return err == -ENOENT ? 0 : err;
	if (last.offset == r->offset) {
		free(r->meta);
		*r = last;
	} else {
		free(last.meta);
	}
	return 0;
}

static int list(shm_segment *s)
{
	struct shm_record_ r;
	uint64_t used, length;
	int err = shm_used_(s, &used);
	for (uint64_t off = SHM_HEADER_; err == 0 && off < used; off += length) {
		if ((err = shm_decode_(s, off, used, &r)) != 0)
			break;
		length = r.length;
		err = newest(s, &r);
		const struct shm_shape_ *h = &r.shape;
		if (err == 0 && h->kind != SHM_INDEX_ && h->kind != SHM_GROWTH_)
			printf("value\t%.*s\t%d\t%d\t%lld\t%.*s\t%llu\n", (int)h->name_length, h->name, h->kind, h->access, (long long)h->count,
				(int)h->format_length, h->format, (unsigned long long)h->size);
		free(r.meta);
	}
	return err;
}

int main(void)
{
	shm_options o;
	char *path = NULL;
	size_t room = 0;
	ssize_t n;
	memset(&o, 0, sizeof o);
	o.read_only = true;
	while ((n = getline(&path, &room, stdin)) > 0) {
		shm_segment *s = NULL;
		if (path[n - 1] == '\n')
			path[n - 1] = 0;
		int fd = open(path, O_RDONLY | O_CLOEXEC), err = fd < 0 ? -errno : shm_attach_fd(&s, fd, &o);
		if (fd >= 0)
			close(fd);
		if (err == 0) {
			printf("ok\n");
			err = list(s);
			printf(err == 0 ? "end\n" : "error: %s\n", class_of(err));
			shm_detach(s);
		} else {
			printf("refused: %s\n", class_of(err));
		}
		fflush(stdout);
	}
	free(path);
	return 0;
}
