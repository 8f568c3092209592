import * as fs from "node:fs"
import * as path from "node:path"

/** The project's root. */
export const root = path.resolve(import.meta.dirname, "../..")

const pinned = path.join(root, "node_modules/node/bin/node")

/** The Node that the project pins; the one that runs the tests where that is not installed. */
export const nodeBinary = fs.existsSync(pinned) ? pinned : process.execPath

const { PATH = "", TEST_BUNDLE, TEST_COMPILED, TEST_PROGRAM, TEST_WORKER } = process.env

/** The program that the tests start: `TEST_PROGRAM`, else the bundle that the run has built, else the sources. */
export const program = path.resolve(root, TEST_PROGRAM ?? TEST_BUNDLE ?? "src/main.ts")

/** The tests' worker: the bundle that the run has built, else its source. */
export const worker = path.resolve(root, TEST_WORKER ?? "test/support/workerMain.ts")

/** The environment that each process of the tests is started with: nothing of this one's, and what Node has compiled before. */
export const environment: Readonly<Record<string, string>> = {
  PATH,
  ...(TEST_COMPILED === undefined ? {} : { NODE_COMPILE_CACHE: TEST_COMPILED })
}
