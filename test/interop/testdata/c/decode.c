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

/* Reads the record at off. Replaces that of a struct by its last growth before used. */
static int newest(shm_segment *s, uint64_t off, uint64_t used, struct shm_record_ *r)
{
	struct shm_record_ later, last;
	int err = shm_decode_(s, off, used, r);
	if (err != 0 || r->shape.kind == SHM_GROWTH_ || !shm_grows_(&r->shape))
		return err;
	last.meta = NULL;
	for (uint64_t at = off + r->length; at < used && shm_decode_(s, at, used, &later) == 0; at += later.length) {
		if (later.shape.kind == SHM_GROWTH_ && later.older == off) {
			free(last.meta);
			last = later;
		} else {
			free(later.meta);
		}
	}
	if (last.meta == NULL)
		return 0;
	uint64_t length = r->length;
	free(r->meta);
	if ((err = shm_own_(s, &last)) == 0) {
		*r = last;
		r->length = length;
	} else {
		r->meta = NULL;
	}
	return err;
}

static int list(shm_segment *s)
{
	struct shm_record_ r;
	uint64_t used, length;
	int err = shm_used_(s, &used);
	for (uint64_t off = SHM_HEADER_; err == 0 && off < used; off += length) {
		if ((err = newest(s, off, used, &r)) != 0)
			break;
		length = r.length;
		const struct shm_shape_ *h = &r.shape;
		if (h->kind == SHM_GROWTH_) {
			if ((err = shm_own_(s, &r)) != 0)
				break;
		} else if (h->kind != SHM_INDEX_) {
			printf("value\t%.*s\t%d\t%d\t%lld\t%.*s\t%llu\n", (int)h->name_length, h->name, h->kind, h->access, (long long)h->count,
				(int)h->format_length, h->format, (unsigned long long)h->size);
		}
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
