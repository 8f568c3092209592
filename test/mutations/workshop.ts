import { spawn } from "node:child_process"
import { cp, mkdtemp, readFile, rm, symlink, writeFile } from "node:fs/promises"
import { tmpdir } from "node:os"
import { join } from "node:path"
import type { Mutant } from "./mutants.ts"

const root = join(import.meta.dirname, "../..")

/** What a run of the explorer said. */
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

/** Runs the explorer on a copy of the sources with `edits` in it. */
export const exploreCopy = async (edits: Mutant["edits"], runs: number): Promise<Verdict> => {
  const copy = await mkdtemp(join(tmpdir(), "cy-mutant-"))
  try {
    for (const part of ["src", "test/simulation", "proto", "package.json"]) {
      await cp(join(root, part), join(copy, part), { recursive: true })
    }
    await symlink(join(root, "node_modules"), join(copy, "node_modules"))
    for (const one of edits) await edit(copy, one)
    return await new Promise((resolve, reject) => {
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
    })
  } finally {
    await rm(copy, { recursive: true, force: true })
  }
}
