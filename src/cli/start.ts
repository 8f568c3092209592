import { rememberCompiled } from "./compileCache.ts"
import type { Engine } from "./engine.ts"

/**
 * Runs the command that this process was started for; `entry` is the URL of the program's first file. The engine rests: a
 * daemon wakes it when there is something to do, all others at once.
 */
export const start = async (entry: string, engine: Engine): Promise<void> => {
  rememberCompiled(entry)
  const args = process.argv.slice(2)
  // What `ps`, `top` and `lsof` show: the command, and none of its arguments, which may be secrets.
  process.title = ["sidecar", ...args.slice(0, 1)].join(" ")
  // A daemon does without the parser of command lines and its kin.
  const isDaemon = args.length === 0 || (args.length === 1 && args[0] === "run")
  if (isDaemon) return (await import("./daemon.ts")).main(engine)
  engine.wake()
  const { main } = await import("../cli.ts")
  main()
}
