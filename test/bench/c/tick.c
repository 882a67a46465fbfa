// SPDX-License-Identifier: Apache-2.0
//
// usage: tick [FILE]
//
// The payload that tells when it began: prints CLOCK_MONOTONIC in nanoseconds,
// or writes it to FILE, whole, and then stays until it is killed.

#include <stdio.h>
#include <time.h>
#include <unistd.h>

int main(int argc, char **argv)
{
	struct timespec now;
	FILE *out = stdout;
	char temporary[256];

	clock_gettime(CLOCK_MONOTONIC, &now);
	if (argc > 1) {
		snprintf(temporary, sizeof(temporary), "%s.new", argv[1]);
		out = fopen(temporary, "w");
		if (!out)
			return 1;
	}
	fprintf(out, "%lld\n", now.tv_sec * 1000000000LL + now.tv_nsec);
	if (fclose(out) != 0)
		return 1;
	if (argc > 1) {
		if (rename(temporary, argv[1]) < 0)
			return 1;
		for (;;)
			pause();
	}
	return 0;
}
