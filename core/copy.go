// SPDX-License-Identifier: Apache-2.0

package core

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"strings"

	"golang.org/x/sys/unix"

	"firmwared/core/registry"
	"firmwared/core/sandbox"
	"firmwared/core/treecopy"
)

// CopyOptions are what both directions of `cp` take.
type CopyOptions struct {
	// Leave is told what was not copied and why.
	Leave func(name, why string)
}

// CopyOut copies path of an instance to a path of this machine, or as a tar
// stream to stream when that is not nil. Needs Enter.
func (m *Manager) CopyOut(ctx context.Context, inst *registry.Instance, path, to string, stream io.Writer, o CopyOptions) error {
	return m.withTree(ctx, inst, func(tree treecopy.Tree) error {
		if stream != nil {
			_, top := treecopy.Split(path)
			return treecopy.Pack(ctx, stream, tree, path, top, o.Leave)
		}
		host, err := hostTree()
		if err != nil {
			return err
		}
		defer host.Close()
		return copyTree(ctx, tree, path, host, to, o.Leave)
	})
}

// CopyIn copies a path of this machine, or the tar stream, into an instance.
// Needs Enter.
func (m *Manager) CopyIn(ctx context.Context, inst *registry.Instance, from string, stream io.Reader, path string, o CopyOptions) error {
	return m.withTree(ctx, inst, func(tree treecopy.Tree) error {
		if stream != nil {
			if !tree.IsDir(path) {
				return fmt.Errorf("%s is not a directory: a tar stream needs one", path)
			}
			return treecopy.Unpack(ctx, stream, tree, path, o.Leave)
		}
		host, err := hostTree()
		if err != nil {
			return err
		}
		defer host.Close()
		return copyTree(ctx, host, from, tree, path, o.Leave)
	})
}

// hostTree is this machine's, where links lead where they lead.
func hostTree() (treecopy.Tree, error) {
	root, err := os.OpenFile("/", unix.O_PATH|unix.O_DIRECTORY, 0)
	return treecopy.Tree{Root: root}, err
}

// withTree opens an instance's tree: what pid 1 has for its root while it runs,
// with all that is mounted there; otherwise the union, mounted for it if need be
// and kept by the instance's lock.
func (m *Manager) withTree(ctx context.Context, inst *registry.Instance, do func(treecopy.Tree) error) error {
	done, err := m.inRunning(inst, do)
	if !done && err == nil {
		err = m.change(ctx, inst, func() error {
			if done, err := m.inRunning(inst, do); done || err != nil {
				return err // it was started meanwhile
			}
			mark, err := m.store.Begin("instance." + inst.ID)
			if err != nil {
				return err
			}
			defer mark.End()
			if err := m.ensureForCopy(ctx, inst); err != nil {
				return err
			}
			root, err := os.OpenFile(m.at.union(inst.ID), unix.O_PATH|unix.O_DIRECTORY|unix.O_NOFOLLOW, 0)
			if err != nil {
				return err
			}
			defer root.Close()
			u, _ := m.readUnion(inst.ID)
			return asOwner(treecopy.Inside(root), u.IDs, do)
		})
	}
	if err != nil {
		return fmt.Errorf("cannot copy, instance %s: %w", inst.Name, err)
	}
	return nil
}

// inRunning tells whether the instance ran. Its lock is not taken, so that a
// long copy does not hold up a kill.
func (m *Manager) inRunning(inst *registry.Instance, do func(treecopy.Tree) error) (done bool, err error) {
	status := m.status(inst.ID)
	if !status.Alive() || status.PID == 0 {
		return false, nil
	}
	root, err := os.OpenFile(fmt.Sprintf("/proc/%d/root", status.PID), unix.O_PATH|unix.O_DIRECTORY, 0)
	if err != nil {
		return false, nil // it has just ended
	}
	defer root.Close()
	// Asked again after the root was opened: the number is still pid 1's.
	if now := m.status(inst.ID); !now.Alive() || now.PID != status.PID || now.PIDStart != status.PIDStart {
		return false, nil
	}
	w, _ := m.readWalls(inst.ID)
	return true, asOwner(treecopy.Inside(root), w.IDs, do)
}

// ensureForCopy leaves a union that is mounted as it is: any plan will do.
func (m *Manager) ensureForCopy(ctx context.Context, inst *registry.Instance) error {
	p, _ := m.planWalls(false)
	if u, found := m.readUnion(inst.ID); found && u.Planned == (plan{}).confinement() {
		p = plan{unconfined: true}
	}
	return m.ensureUnion(ctx, inst, p, false, reasonRemount)
}

// asOwner runs do on a tree that shows owners as who lives in it knows them, and
// on one thread, which makes files as that one's root: a file system that was
// mounted in a user namespace takes none of an owner that it cannot name
// (EOVERFLOW).
func asOwner(tree treecopy.Tree, ids *sandbox.IDs, do func(treecopy.Tree) error) error {
	if ids == nil {
		return do(tree)
	}
	tree.First, tree.Count = int(ids.First), int(ids.Count)
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // for good: the thread ends with this goroutine
		err := fsOwner(uintptr(ids.First))
		if err == nil {
			err = do(tree)
		}
		done <- err
	}()
	return <-done
}

// fsOwner is for a locked thread that ends afterwards. Without the bit the kernel
// would take the capabilities over files away with the id (setfsuid(2)).
func fsOwner(id uintptr) error {
	const noSetuidFixup = 1 << 2
	if err := unix.Prctl(unix.PR_SET_SECUREBITS, noSetuidFixup, 0, 0, 0); err != nil {
		return err
	}
	// Both return the id before, never an error.
	_, _, _ = unix.RawSyscall(unix.SYS_SETFSGID, id, 0, 0)
	_, _, _ = unix.RawSyscall(unix.SYS_SETFSUID, id, 0, 0)
	return nil
}

// copyTree has the rules of cp: into a directory that is there, else to that
// name; SOURCE/. is a directory's content.
func copyTree(ctx context.Context, from treecopy.Tree, source string, to treecopy.Tree, target string, leave func(name, why string)) error {
	st, err := from.Lstat(source)
	if err != nil {
		return err
	}
	isDir := st.Mode&unix.S_IFMT == unix.S_IFDIR
	_, top := treecopy.Split(source)
	base := target
	switch {
	case to.IsDir(target):
		if content := strings.HasSuffix(source, "/.") || source == "."; content {
			top = "."
		}
	case strings.HasSuffix(target, "/") && !isDir:
		return fmt.Errorf("%s is not a directory", target)
	default:
		base, top = treecopy.Split(target)
		if top == "." {
			return fmt.Errorf("%s is not a directory", target)
		}
	}
	// Below it nothing is followed, whoever owns it.
	dest, err := to.Sub(base)
	if err != nil {
		return err
	}
	defer dest.Close()
	return pipeTree(ctx, from, source, top, dest, leave)
}

// pipeTree runs both ends of a tar stream.
func pipeTree(ctx context.Context, from treecopy.Tree, source, top string, dest treecopy.Tree, leave func(name, why string)) error {
	r, w := io.Pipe()
	packed := make(chan error, 1)
	go func() {
		err := treecopy.Pack(ctx, w, from, source, top, leave)
		w.CloseWithError(err)
		packed <- err
	}()
	err := treecopy.Unpack(ctx, r, dest, ".", leave)
	r.CloseWithError(errStopped)
	packErr := <-packed
	if packErr != nil && !errors.Is(packErr, errStopped) {
		return packErr // the other end only saw the stream break
	}
	return err
}

var errStopped = errors.New("the other end stopped")
