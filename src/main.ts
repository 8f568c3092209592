#!/usr/bin/env node
import { rememberCompiled } from "./cli/compileCache.ts"

rememberCompiled(import.meta.url)
const args = process.argv.slice(2)
// A daemon does without the parser of command lines and its kin.
const { main } = args.length === 0 || (args.length === 1 && args[0] === "run")
  ? await import("./cli/daemon.ts")
  : await import("./cli.ts")
main()
