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
 * Builds the daemon as it is published, and the tests' worker, once for all tests of a run: hundreds of them are started, and
 * from its sources each start costs two or three times as much CPU time. `TEST_PROGRAM` says which daemon the tests run
 * instead.
 */
export default async (project: TestProject): Promise<(() => void) | undefined> => {
  // Another project of this run was here.
  if (process.env["TEST_WORKER"] !== undefined) return undefined
  const caches = path.join(root, ".cache")
  clearAway(caches)
  const folder = path.join(caches, `program-${process.pid}`)
  const write = async () => {
    await build({
      cwd: root,
      input: "test/support/workerMain.ts",
      platform: "node",
      logLevel: "warn",
      output: { dir: path.join(folder, "worker"), format: "esm" }
    })
    if (process.env["TEST_PROGRAM"] !== undefined) return
    await build({ ...bundle, cwd: root, logLevel: "warn", output: { ...bundle.output, dir: path.join(folder, "bin") } })
    process.env["TEST_BUNDLE"] = path.join(folder, "bin/sidecar.js")
  }
  await write()
  process.env["TEST_COMPILED"] = path.join(folder, "compiled")
  process.env["TEST_WORKER"] = path.join(folder, "worker/workerMain.js")
  project.onTestsRerun(write)
  return () => fs.rmSync(folder, { recursive: true, force: true })
}
