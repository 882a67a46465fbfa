// SPDX-License-Identifier: Apache-2.0
//
// usage: floor [-t FSTYPE] FIRMWARE INSTANCE COMMAND [ARG...]
//
// The least that a throw-away run can cost: a read-only lower (a bind, or an
// image of FSTYPE on a loop device), an overlay on it, new namespaces,
// pivot_root, /proc, COMMAND as pid 1, and no upper layer afterwards. System
// calls only, no checks for anybody's comfort. INSTANCE is made and removed.
// Exits as COMMAND did, or with 125.

#define _GNU_SOURCE
#include <dirent.h>
#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/loop.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

enum { FAILED = 125 };

static void try(int status, const char *what)
{
	if (status < 0)
		err(FAILED, "%s", what);
}

// attach gives image a loop device that goes with its last user. Others may
// take the free one first.
static int attach(const char *image, char *device, size_t size)
{
	struct loop_config config = { .info.lo_flags = LO_FLAGS_READ_ONLY | LO_FLAGS_AUTOCLEAR };
	int control = open("/dev/loop-control", O_RDWR | O_CLOEXEC);

	try(control, "/dev/loop-control");
	config.fd = open(image, O_RDONLY | O_CLOEXEC);
	try(config.fd, image);
	for (int attempt = 0; attempt < 100; attempt++) {
		int number = ioctl(control, LOOP_CTL_GET_FREE), loop;

		try(number, "LOOP_CTL_GET_FREE");
		snprintf(device, size, "/dev/loop%d", number);
		loop = open(device, O_RDONLY | O_CLOEXEC);
		try(loop, device);
		if (ioctl(loop, LOOP_CONFIGURE, &config) == 0) {
			close(config.fd);
			close(control);
			return loop;
		}
		if (errno != EBUSY)
			err(FAILED, "LOOP_CONFIGURE");
		close(loop);
	}
	errx(FAILED, "no free loop device");
}

static void mount_lower(const char *firmware, const char *type)
{
	char device[32];
	int loop;

	if (!type) {
		try(mount(firmware, "ro", NULL, MS_BIND, NULL), "bind");
		try(mount(NULL, "ro", NULL, MS_BIND | MS_REMOUNT | MS_RDONLY | MS_NODEV, NULL), "read-only");
		return;
	}
	loop = attach(firmware, device, sizeof(device));
	try(mount(device, "ro", type, MS_RDONLY | MS_NODEV, strcmp(type, "ext4") ? NULL : "noload"), "image");
	close(loop);
}

// inside is the child: pid 1 of its namespaces.
static void inside(const char *firmware, const char *type, char **command)
{
	try(mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL), "private");
	mount_lower(firmware, type);
	try(mount("floor", "union", "overlay", 0, "lowerdir=ro,upperdir=rw,workdir=work"), "overlay");
	try(chdir("union"), "union");
	try((int)syscall(SYS_pivot_root, ".", "."), "pivot_root");
	try(umount2(".", MNT_DETACH), "old root");
	try(mount("proc", "/proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL), "/proc");
	execv(command[0], command);
	err(errno == ENOENT ? 127 : 126, "%s", command[0]);
}

// clear removes what is in a directory, and its directories when they are empty.
static void clear(int parent, const char *name)
{
	int fd = openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	struct dirent *entry;
	DIR *dir;

	try(fd, name);
	dir = fdopendir(fd);
	while ((entry = readdir(dir))) {
		if (!strcmp(entry->d_name, ".") || !strcmp(entry->d_name, ".."))
			continue;
		if (unlinkat(fd, entry->d_name, 0) < 0) {
			clear(fd, entry->d_name);
			try(unlinkat(fd, entry->d_name, AT_REMOVEDIR), entry->d_name);
		}
	}
	closedir(dir);
}

int main(int argc, char **argv)
{
	const char *type = NULL, *instance;
	const char *const dirs[] = { "ro", "rw", "work", "union" };
	int status, child;

	if (argc > 2 && !strcmp(argv[1], "-t")) {
		type = argv[2];
		argv += 2;
		argc -= 2;
	}
	if (argc < 4)
		errx(FAILED, "usage: floor [-t FSTYPE] FIRMWARE INSTANCE COMMAND [ARG...]");
	instance = argv[2];
	try(mkdir(instance, 0700), instance);
	try(chdir(instance), instance);
	for (size_t i = 0; i < sizeof(dirs) / sizeof(*dirs); i++)
		try(mkdir(dirs[i], 0755), dirs[i]);

	child = (int)syscall(SYS_clone,
		CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWNET | SIGCHLD, 0, 0, 0, 0);
	try(child, "clone");
	if (child == 0)
		inside(argv[1], type, argv + 3);
	try(waitpid(child, &status, 0), "waitpid");

	clear(AT_FDCWD, ".");
	try(rmdir(instance), instance);
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}
