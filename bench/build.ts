/** What is measured is what users get: the bundle that `npm run build` makes, and plain JavaScript for the baselines. */
import { spawnSync } from "node:child_process"
import { cpSync, mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { stripTypeScriptTypes } from "node:module"
import { join } from "node:path"

const root = join(import.meta.dirname, "..")
/** Below node_modules, so that packages are found from there, and git does not see it. */
const out = join(root, "node_modules/.cache/sidecar-bench")

/** Programs that run as they are; what they import of the sidecar is what was built. */
const plain = ["grpcjs-passthrough", "http2-splice", "instrument", "variant", "journal", "nothing"] as const
export type Plain = (typeof plain)[number]

/** A baseline's, a variant's or the instrument's program. */
export const programOf = (name: Plain): string => join(out, `${name}.mjs`)

/** The sidecar's entry. */
export const sidecarMain = process.env["BENCH_SIDECAR"] ?? join(out, "dist/bin/sidecar.js")

/** Another build of the sidecar to compare with: its `dist/bin/sidecar.js`. */
export const otherMain = process.env["BENCH_OTHER"] ?? ""

/** Options of Node for that one: `BENCH_OTHER_FLAGS="--trace-gc"`. */
export const otherFlags = (process.env["BENCH_OTHER_FLAGS"] ?? "").split(" ").filter((flag) => flag !== "")

/** Compiles everything; answers why not, if so. */
export const build = (): string | undefined => {
  rmSync(out, { recursive: true, force: true })
  mkdirSync(out, { recursive: true })
  // Node calls stripTypeScriptTypes experimental on standard error, in the middle of the tables.
  process.removeAllListeners("warning")
  for (const name of plain) {
    const program = stripTypeScriptTypes(readFileSync(join(import.meta.dirname, `${name}.ts`), "utf8"))
    writeFileSync(programOf(name), program.replaceAll(/"\.\.\/src\/(.+)\.ts"/g, "\"./dist/$1.js\""))
  }
  cpSync(join(root, "package.json"), join(out, "package.json"))
  cpSync(join(root, "proto"), join(out, "proto"), { recursive: true })
  const run = (args: ReadonlyArray<string>): string | undefined => {
    const { status, stderr, stdout } = spawnSync(process.execPath, args, { cwd: root, encoding: "utf8" })
    return status === 0 ? undefined : `the sidecar cannot be built:\n${stdout}${stderr}`.trim()
  }
  // The modules for the variants, the bundle for the sidecar itself.
  return run([
    join(root, "node_modules/typescript/bin/tsc"),
    "-p",
    "tsconfig.build.json",
    "--outDir",
    join(out, "dist")
  ]) ??
    run([join(root, "node_modules/rolldown/bin/cli.mjs"), "-c", "--dir", join(out, "dist/bin")])
}
