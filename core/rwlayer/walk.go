// SPDX-License-Identifier: Apache-2.0

package rwlayer

import (
	"context"
	"fmt"
)

// Walk calls visit for each object of the tree that layers, top first, show: "/"
// itself, then a directory before what is in it, names in the order of bytes. No
// mount is needed; conditions are those of Diff.
func Walk(ctx context.Context, layers []string, visit func(path string, n *Node) error) error {
	dir, err := OpenLayers(layers...)
	if err != nil {
		return err
	}
	defer dir.Close()
	root, err := dir.root()
	if err != nil {
		return err
	}
	if err := visit("/", root); err != nil {
		return err
	}
	return walk(ctx, "", 0, dir, visit)
}

// walk visits what is in a directory.
func walk(ctx context.Context, path string, depth int, dir *Dir, visit func(string, *Node) error) error {
	if err := checkDepth(ctx, path, depth); err != nil {
		return err
	}
	names, err := dir.Names()
	if err != nil {
		return fmt.Errorf("cannot read %q: %w", path+"/", err)
	}
	for _, name := range names {
		if err := walkName(ctx, path+"/"+name, name, depth, dir, visit); err != nil {
			return err
		}
	}
	return nil
}

func walkName(ctx context.Context, path, name string, depth int, dir *Dir, visit func(string, *Node) error) error {
	n, sub, err := dir.Lookup(name)
	if err != nil {
		return fmt.Errorf("cannot look at %q: %w", path, err)
	}
	defer sub.Close()
	if n == nil {
		return nil // gone since it was listed
	}
	if err := visit(path, n); err != nil || sub == nil {
		return err
	}
	return walk(ctx, path, depth+1, sub, visit)
}

func checkDepth(ctx context.Context, path string, depth int) error {
	if depth > deepest {
		return fmt.Errorf("cannot look below %.80q...: deeper than any path can be", path)
	}
	return context.Cause(ctx)
}
