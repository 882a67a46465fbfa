// SPDX-License-Identifier: Apache-2.0

package main

import (
	"slices"
	"strings"

	"github.com/urfave/cli/v2"
)

// permute lets options stand behind arguments, as users of other tools expect:
// the library takes only those in front. "start box --attach -- sh" becomes
// "start --attach -- box -- sh": the first -- ends the options, the second, which
// the library leaves alone, begins the program that an instance shall run.
func permute(app *cli.App, args []string) []string {
	if slices.Contains(args, "--generate-bash-completion") {
		return args
	}
	out := args[:1:1]
	rest := args[1:]
	commands, flags := app.Commands, app.Flags
	for {
		options, words, program := split(rest, flags, len(commands) > 0)
		cmd := find(commands, words)
		if cmd == nil {
			out = append(out, options...)
			if len(words) > 0 || program != nil {
				if len(commands) == 0 {
					out = append(out, "--")
				}
				out = append(out, words...)
			}
			if program != nil {
				out = append(append(out, "--"), program...)
			}
			return out
		}
		out = append(append(out, options...), words[0])
		rest = words[1:]
		if program != nil {
			rest = append(append(rest[:len(rest):len(rest)], "--"), program...)
		}
		commands, flags = cmd.Subcommands, cmd.Flags
	}
}

func find(commands []*cli.Command, words []string) *cli.Command {
	if len(words) == 0 {
		return nil
	}
	for _, cmd := range commands {
		if cmd.HasName(words[0]) {
			return cmd
		}
	}
	return nil
}

// split sorts arguments into options with their values, words, and what follows
// a --. Before a command's name only its parent's options are known, so there it
// stops at the first word.
func split(args []string, flags []cli.Flag, stop bool) (options, words, program []string) {
	for i := 0; i < len(args); i++ {
		arg := args[i]
		switch {
		case arg == "--":
			return options, words, append([]string{}, args[i+1:]...)
		case stop && !isOption(arg):
			return options, append(words, args[i:]...), nil
		case !isOption(arg):
			words = append(words, arg)
		default:
			options = append(options, arg)
			if takesValue(arg, flags) && i+1 < len(args) {
				i++
				options = append(options, args[i])
			}
		}
	}
	return options, words, nil
}

func isOption(arg string) bool { return len(arg) > 1 && arg[0] == '-' }

// takesValue tells whether an option wants the next argument.
func takesValue(arg string, flags []cli.Flag) bool {
	name := strings.TrimLeft(arg, "-")
	if strings.Contains(name, "=") {
		return false
	}
	for _, flag := range flags {
		if slices.Contains(flag.Names(), name) {
			_, isBool := flag.(*cli.BoolFlag)
			return !isBool
		}
	}
	return false
}
