import { Effect } from "effect"
import { readFileSync, statSync } from "node:fs"
import { BillingError } from "../../services/BillingSink.ts"

/** Nothing that is read here is larger; whoever names a device or a log is told. Bytes. */
const largest = 262_144

/** Everybody on the machine may read it, or write it. */
const others = 0o007

const errorCode = (cause: unknown): string =>
  typeof cause === "object" && cause !== null && "code" in cause ? String(cause.code) : "unknown"

const unreadable = (cause: unknown): string => {
  const code = errorCode(cause)
  switch (code) {
    case "ENOENT":
    case "ENOTDIR":
      return "does not exist; create the file, or correct the path"
    case "EACCES":
    case "EPERM":
      return "may not be read by this user; give it read permission (chown, chmod 0600)"
    default:
      return `cannot be read (${code}); name a file that can`
  }
}

/** Reads a file that a key of `[metering]` names. What it holds is in no mistake. */
export const readSecretFile = (key: string, path: string): Effect.Effect<Buffer, BillingError> =>
  Effect.suspend(() => {
    try {
      const stat = statSync(path)
      if (!stat.isFile()) return Effect.fail(new BillingError({ key, value: path, detail: "is not a file; name one" }))
      if (stat.size > largest) {
        return Effect.fail(
          new BillingError({ key, value: path, detail: `has more than ${largest} bytes; name the right file` })
        )
      }
      return Effect.succeed(readFileSync(path))
    } catch (cause) {
      return Effect.fail(new BillingError({ key, value: path, detail: unreadable(cause) }))
    }
  })

/** One line when the mode of a secret's file lets everybody in; `undefined` when it does not. */
export const loosePermissions = (key: string, path: string): string | undefined => {
  try {
    const { mode } = statSync(path)
    return (mode & others) === 0
      ? undefined
      : `[metering] ${key} = ${JSON.stringify(path)}: every user of this machine may open it (mode 0${
        (mode & 0o777).toString(8)
      }); chmod 0600 it, or set defaultMode: 0440 where a Secret is mounted`
  } catch {
    return undefined
  }
}
