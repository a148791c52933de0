//go:build ignore

/* Counts its own runs. The number is what Go calls a Value[int64], with the name "runs". */
#include "shm.h"

int main(void)
{
	shm_segment *seg;
	shm_value runs;
	int64_t n = 0;
	int err = shm_attach(&seg, "shm-example", NULL);
	if (err == 0) err = shm_new_number(seg, "runs", SHM_I64, NULL, &runs);
	if (err == 0) err = shm_add_i64(&runs, 1, &n);
	printf("run %lld: %s\n", (long long)n, err == 0 ? "fine" : shm_strerror(err));
	return err != 0;
}
