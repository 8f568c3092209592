import * as fs from "node:fs"
import * as path from "node:path"
import { build } from "rolldown"
import type { TestProject } from "vitest/node"
import bundle from "../../../rolldown.config.ts"
import { root } from "../node.ts"

const lives = (pid: number): boolean => {
  try {
    return process.kill(pid, 0)
  } catch {
    return false
  }
}

/** Bundles of runs whose process is gone and that nobody has cleared away. */
const clearAway = (folder: string): void => {
  if (!fs.existsSync(folder)) return
  for (const name of fs.readdirSync(folder)) {
    const pid = /^program-(\d+)$/.exec(name)?.[1]
    if (pid !== undefined && !lives(Number(pid))) fs.rmSync(path.join(folder, name), { recursive: true, force: true })
  }
}

/**
 * Builds the daemon as it is published, once for all tests of a run: hundreds of them start one, and from its sources
 * each start costs three times as much CPU time. `TEST_PROGRAM` says which program the tests run instead.
 */
export default async (project: TestProject): Promise<(() => void) | undefined> => {
  if (process.env["TEST_PROGRAM"] !== undefined || process.env["TEST_BUNDLE"] !== undefined) return undefined
  const caches = path.join(root, ".cache")
  clearAway(caches)
  const folder = path.join(caches, `program-${process.pid}`)
  const write = () => build({ ...bundle, cwd: root, logLevel: "warn", output: { ...bundle.output, dir: folder } })
  await write()
  process.env["TEST_BUNDLE"] = path.join(folder, "sidecar.js")
  project.onTestsRerun(async () => void await write())
  return () => fs.rmSync(folder, { recursive: true, force: true })
}
