import { type Stats, statSync } from "node:fs"

/** Which file it is, as long as somebody has it open. */
export const nameOf = ({ dev, ino }: Stats): string => `${dev}:${ino}`

/** Which file is at a path now: the file that is open may have been moved or deleted meanwhile. */
export const fileAt = (path: string): string | undefined => {
  const found = statSync(path, { throwIfNoEntry: false })
  return found && nameOf(found)
}
