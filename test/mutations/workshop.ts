import { type ChildProcess, fork, spawn } from "node:child_process"
import { cp, mkdtemp, readFile, rm, symlink, writeFile } from "node:fs/promises"
import { tmpdir } from "node:os"
import { join } from "node:path"
import type { Mutant } from "./mutants.ts"

const root = join(import.meta.dirname, "../..")

/** So many runs of the explorer in this copy, from each of these seeds. */
export interface Task {
  readonly copy: string
  readonly seeds: ReadonlyArray<number>
  readonly runs: number
  /** The explorer goes on until one of these rules is broken; none: until any is. */
  readonly wanted: ReadonlyArray<string>
}

/** What the explorer found. */
export interface Found {
  readonly runs: number
  /** Where a wanted rule was broken; `undefined`: nowhere. */
  readonly seed: number | undefined
  /** What was broken up to there, in words. */
  readonly broken: ReadonlyArray<string>
}

/** What a run of the explorer's command said. */
export interface Verdict {
  readonly exitCode: number | null
  readonly output: string
}

/** Changes the file; throws unless `find` occurs in it exactly once. */
const edit = async (copy: string, { file, find, replace }: Mutant["edits"][number]): Promise<void> => {
  const path = join(copy, file)
  const text = await readFile(path, "utf8")
  const count = text.split(find).length - 1
  if (count !== 1) throw new Error(`${file}: ${JSON.stringify(find)} occurs ${count} times: the mutant must be adapted`)
  await writeFile(path, text.replace(find, () => replace))
}

/** A copy of the sources with `edits` in it, for the time of `use`. */
const withCopy = async <A>(edits: Mutant["edits"], use: (copy: string) => Promise<A>): Promise<A> => {
  const copy = await mkdtemp(join(tmpdir(), "cy-mutant-"))
  try {
    for (const part of ["src", "test/simulation", "proto", "package.json"]) {
      await cp(join(root, part), join(copy, part), { recursive: true })
    }
    await symlink(join(root, "node_modules"), join(copy, "node_modules"))
    for (const one of edits) await edit(copy, one)
    return await use(copy)
  } finally {
    await rm(copy, { recursive: true, force: true })
  }
}

/** Runs the explorer's command on a copy of the sources with `edits` in it, as a user does. */
export const exploreByCommand = (edits: Mutant["edits"], runs: number): Promise<Verdict> =>
  withCopy(edits, (copy) =>
    new Promise((resolve, reject) => {
      const script = join(copy, "test/simulation/explore.ts")
      const args = [script, "--runs", String(runs), "--jobs", "1", "--no-shrink"]
      const child = spawn(process.execPath, args, { stdio: ["ignore", "pipe", "pipe"] })
      let output = ""
      const onData = (data: Buffer) => {
        output += data.toString()
      }
      child.stdout.on("data", onData)
      child.stderr.on("data", onData)
      child.on("error", reject)
      child.on("close", (exitCode) => resolve({ exitCode, output }))
    }))

/** A process that explores one copy after the other; it is started again when one of them has killed it. */
export class Workshop {
  #child: ChildProcess | undefined

  /** What it finds from each of the seeds, in their order. */
  explore(
    runs: number,
    seeds: ReadonlyArray<number>,
    { edits, found }: Pick<Mutant, "edits" | "found">
  ): Promise<ReadonlyArray<Found>> {
    return withCopy(edits, (copy) => {
      const child = this.#running()
      const { promise, reject, resolve } = Promise.withResolvers<ReadonlyArray<Found>>()
      const died = (code: number | null) => reject(new Error(`the explorer ended with exit code ${code}`))
      child.once("exit", died)
      child.once("message", (found: ReadonlyArray<Found>) => {
        child.off("exit", died)
        resolve(found)
      })
      child.send({ copy, seeds, runs, wanted: found } satisfies Task)
      return promise
    })
  }

  close(): void {
    this.#child?.kill("SIGKILL")
  }

  #running(): ChildProcess {
    if (this.#child !== undefined && this.#child.exitCode === null && this.#child.signalCode === null) {
      return this.#child
    }
    this.#child = fork(join(import.meta.dirname, "explorer.ts"), { execArgv: [], serialization: "advanced" })
    return this.#child
  }
}
