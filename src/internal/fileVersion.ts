import { statSync } from "node:fs"

/**
 * What tells one content of a file from another without reading it; `""` when there is none. Links are followed to their
 * end: a mounted Kubernetes Secret is changed by turning a link in the middle of the way.
 */
export const fileVersion = (path: string): string => {
  try {
    const stat = statSync(path, { bigint: true })
    return `${stat.dev}:${stat.ino}:${stat.size}:${stat.mtimeNs}:${stat.ctimeNs}`
  } catch {
    return ""
  }
}
