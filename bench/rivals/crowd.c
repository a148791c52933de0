/* Forks children that attach to a segment, each by itself and one after another, and live
 * until standard input ends. Arguments: the path of the segment, and how many. */
#include "../shm.h"

#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

int main(int argc, char **argv)
{
    if (argc != 3)
        return 2;
    int n = atoi(argv[2]), good = 0, ready[2];
    char c;
    if (pipe(ready))
        return 1;
    for (int i = 0; i < n; i++) {
        pid_t pid = fork();
        if (pid < 0) {
            perror("fork");
            return 1; /* the others see the end of standard input */
        }
        if (pid) {
            if (read(ready[0], &c, 1) != 1)
                return 1;
            good += c == '.';
            continue;
        }
        shm_segment *s;
        shm_value v;
        shm_options o = {.must_exist = true};
        int64_t sum;
        int err = shm_attach(&s, argv[1], &o);
        if (!err)
            err = shm_new_number(s, "count", SHM_I64, NULL, &v);
        if (!err)
            err = shm_add_i64(&v, 1, &sum); /* takes a place among the processes with locks */
        if (err)
            fprintf(stderr, "%s\n", shm_strerror(err));
        if (write(ready[1], err ? "x" : ".", 1) != 1)
            _exit(1);
        while (read(0, &c, 1) > 0)
            ;
        _exit(0);
    }
    printf("ready %d\n", (int)getpid());
    printf("%d\n", good);
    fflush(stdout);
    while (read(0, &c, 1) > 0)
        ;
    while (wait(NULL) > 0)
        ;
    return 0;
}
