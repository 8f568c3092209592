import { constants, enableCompileCache } from "node:module"
import { fileURLToPath } from "node:url"
import { packageFile } from "../internal/packageFile.ts"

/**
 * Source files, of which there are hundreds with those of `effect`, are stripped of their types and compiled once and not
 * at every start. A bundle gains nothing from it. Where the cache cannot be written there is none.
 *
 * What lies in the cache will be run, so it lies in the checkout, as safe as the dependencies beside it, and not in the
 * shared temporary folder, which is Node's default.
 */
export const rememberCompiled = (entry: string): void => {
  if (!entry.endsWith(".ts")) return
  const folder = fileURLToPath(packageFile("node_modules/.cache/sidecar-compiled"))
  const { status } = enableCompileCache(folder)
  // Threads and children only look at their environment.
  if (status === constants.compileCacheStatus.ENABLED) process.env["NODE_COMPILE_CACHE"] = folder
}
