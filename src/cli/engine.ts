import { setFlagsFromString } from "node:v8"

/** What a program may do with the V8 that it runs on. */
export interface Engine {
  /**
   * From here V8 compiles and grows as it does by default, and collects when it has to, not to give memory back: after that the
   * next load costs up to twice as much in its first second.
   */
  readonly wake: () => void
  /** Collects all garbage and gives the memory back, which takes some 30 ms after a start and 60 after work. */
  readonly collect: () => void
}

/** An option by which whoever starts Node has a say in what {@link restEngine} sets: then nothing is set. */
const said = /--(no-?)?(jitless|lite-mode|opt|turbofan|maglev|optimize-for-size|expose-gc|(min-|max-)?semi-space)\b/

const areOurs = (): boolean => ![...process.execArgv, process.env["NODE_OPTIONS"] ?? ""].some((text) => said.test(text))

/**
 * From here V8 optimizes nothing, and keeps its young generation as small as it is. What a start does it does once, and a sidecar
 * that carries next to nothing gains nothing by optimized code, while the pages of the optimizing compilers and what they leave in
 * the heap are 10 MiB. They count as soon as anything is compiled, be it by an import: so this comes before all other
 * imports, in the program's first file.
 *
 * Threads that are started from now on know `gc`, so that they can collect theirs.
 *
 * **Gotchas**
 *
 * Where an option of the command line or of `NODE_OPTIONS` is about the same, nothing is set, and waking sets nothing either.
 */
export const restEngine = (): Engine => {
  const ours = areOurs()
  const set = (...options: ReadonlyArray<string>): void => {
    if (ours) options.forEach((option) => setFlagsFromString(`--${option}`))
  }
  // Not `--no-maglev`: functions would then be asked again only after several times as many calls, also once it is woken.
  set("no-opt", "maglev-filter=-*", "semi-space-growth-factor=1", "expose-gc")
  return {
    wake: () => set("opt", "maglev-filter=*", "semi-space-growth-factor=2", "memory-reducer-gc-count=0"),
    collect: () => {
      // Our own context is older than the option.
      const gc: unknown = process.getBuiltinModule("node:vm").runInNewContext("globalThis.gc")
      if (typeof gc === "function") gc({ type: "major", execution: "sync", flavor: "last-resort" })
    }
  }
}
