import { readFileSync } from "node:fs"

/** Name and number of a line in `/etc/passwd` or `/etc/group` (passwd(5), group(5)): `name:x:number:…`. */
const numberIn = (file: string, name: string): number | undefined => {
  try {
    for (const line of readFileSync(file, "utf8").split("\n")) {
      const [entry, , number = ""] = line.split(":")
      if (entry === name && /^\d+$/.test(number)) return Number(number)
    }
  } catch {
    // No such file, in a container from scratch: only numbers are known there.
  }
  return undefined
}

const numberOf = (nameOrNumber: string | number, file: string): number | undefined =>
  typeof nameOrNumber === "number" || /^\d+$/.test(nameOrNumber)
    ? Number(nameOrNumber)
    : numberIn(file, nameOrNumber)

/** The number of a user; `undefined`: there is none of that name. */
export const userNumber = (user: string | number): number | undefined => numberOf(user, "/etc/passwd")

/** The number of a group; `undefined`: there is none of that name. */
export const groupNumber = (group: string | number): number | undefined => numberOf(group, "/etc/group")
