import { readFileSync } from "node:fs"
import { packageFile } from "./packageFile.ts"

const manifest: unknown = JSON.parse(readFileSync(packageFile("package.json"), "utf8"))

/** The version of this package, as its `package.json` says. */
export const version: string =
  typeof manifest === "object" && manifest !== null && "version" in manifest && typeof manifest.version === "string"
    ? manifest.version
    : "unknown"
