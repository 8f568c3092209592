import { findPackageJSON } from "node:module"
import { pathToFileURL } from "node:url"

// This very code lies in `src/`, in `dist/`, or bundled with much else in `dist/bin/`.
const manifest = findPackageJSON(import.meta.url)

/** A file that comes with this package, by its path from the package's root. */
export const packageFile = (path: string): URL => {
  if (manifest === undefined) throw new Error(`${path} belongs to a package, and there is no package.json above`)
  return new URL(path, pathToFileURL(manifest))
}
