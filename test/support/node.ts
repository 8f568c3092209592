import * as fs from "node:fs"
import * as path from "node:path"

/** The project's root. */
export const root = path.resolve(import.meta.dirname, "../..")

const pinned = path.join(root, "node_modules/node/bin/node")

/** The Node that the project pins; the one that runs the tests where that is not installed. */
export const nodeBinary = fs.existsSync(pinned) ? pinned : process.execPath
