import { rememberCompiled } from "./compileCache.ts"

/** Runs the command that this process was started for; `entry` is the URL of the program's first file. */
export const start = async (entry: string): Promise<void> => {
  rememberCompiled(entry)
  const args = process.argv.slice(2)
  // What `ps`, `top` and `lsof` show: the command, and none of its arguments, which may be secrets.
  process.title = ["sidecar", ...args.slice(0, 1)].join(" ")
  // A daemon does without the parser of command lines and its kin.
  const { main } = args.length === 0 || (args.length === 1 && args[0] === "run")
    ? await import("./daemon.ts")
    : await import("../cli.ts")
  main()
}
