/** What is measured is what users get: the bundle that `npm run build` makes, and plain JavaScript for the baselines. */
import { spawnSync } from "node:child_process"
import { cpSync, mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { stripTypeScriptTypes } from "node:module"
import { join } from "node:path"

const root = join(import.meta.dirname, "..")
/** Below node_modules, so that packages are found from there, and git does not see it. */
const out = join(root, "node_modules/.cache/sidecar-bench")

/** Programs that run as they are, without packages of the sidecar. */
const plain = ["grpcjs-passthrough", "http2-splice", "instrument"] as const
export type Plain = (typeof plain)[number]

/** The baseline's or the instrument's program. */
export const programOf = (name: Plain): string => join(out, `${name}.mjs`)

/** The sidecar's entry. */
export const sidecarMain = process.env["BENCH_SIDECAR"] ?? join(out, "dist/bin/sidecar.js")

/** Compiles everything; answers why not, if so. */
export const build = (): string | undefined => {
  rmSync(out, { recursive: true, force: true })
  mkdirSync(out, { recursive: true })
  // Node calls stripTypeScriptTypes experimental on standard error, in the middle of the tables.
  process.removeAllListeners("warning")
  for (const name of plain) {
    writeFileSync(programOf(name), stripTypeScriptTypes(readFileSync(join(import.meta.dirname, `${name}.ts`), "utf8")))
  }
  cpSync(join(root, "package.json"), join(out, "package.json"))
  cpSync(join(root, "proto"), join(out, "proto"), { recursive: true })
  const { status, stderr } = spawnSync(
    process.execPath,
    [join(root, "node_modules/rolldown/bin/cli.mjs"), "-c", "--dir", join(out, "dist/bin")],
    { cwd: root, encoding: "utf8" }
  )
  return status === 0 ? undefined : `the sidecar cannot be bundled:\n${stderr.trim()}`
}
