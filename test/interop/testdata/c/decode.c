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

static int list(shm_segment *s)
{
	shm_entry e;
	int err;
	memset(&e, 0, sizeof e);
	while ((err = shm_next_entry(s, &e)) == 0)
		printf("value\t%s\t%d\t%d\t%llu\t%s\t%llu\n", e.name, e.value.kind, e.value.access, (unsigned long long)e.value.count, e.format, (unsigned long long)e.value.size);
	return err == -ENOENT ? 0 : err;
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
