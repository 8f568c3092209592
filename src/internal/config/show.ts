/** Names of parameters of a URL whose values are secrets. */
export const secretParameter = /token|secret|passw|key|sig|auth|cred/i

/** Replaces what must not be read over somebody's shoulder: `user:pass@` and parameters such as `token=` of a URL. */
export const maskSecrets = (text: string): string =>
  text
    // A password may hold anything, in an address that is none for that reason too.
    .replaceAll(/([a-z][a-z\d+.-]*:\/\/).*@/gi, "$1***@")
    .replaceAll(/([?&])([^=&#\s"']+)=([^&#\s"']*)/g, (whole, mark: string, name: string) =>
      secretParameter.test(name) ? `${mark}${name}=***` : whole)

const bareKey = /^[\w-]+$/

/** Spells a value as TOML does; secrets in URLs are masked. */
export const showValue = (value: unknown): string => {
  if (typeof value === "string") return JSON.stringify(maskSecrets(value)).replaceAll("\u007F", "\\u007F")
  if (typeof value === "number") {
    return Number.isNaN(value) ? "nan" : Number.isFinite(value) ? String(value) : value > 0 ? "inf" : "-inf"
  }
  if (value instanceof Date) return value.toISOString()
  if (Array.isArray(value)) return `[${value.map(showValue).join(", ")}]`
  if (typeof value === "object" && value !== null) {
    const fields = Object.entries(value).map(([key, field]) =>
      `${bareKey.test(key) ? key : JSON.stringify(key)} = ${showValue(field)}`
    )
    return fields.length === 0 ? "{}" : `{ ${fields.join(", ")} }`
  }
  return String(value)
}

const longest = 120

/** As {@link showValue}, short enough for a message of one line. */
export const showBriefly = (value: unknown): string => {
  const shown = showValue(value)
  const points = Array.from(shown)
  return points.length <= longest ? shown : `${points.slice(0, longest).join("")}… (${points.length} characters)`
}

/** Stands for a secret. */
export const HIDDEN = "***"

/** What a key was given, in a message about it. */
export const showGiven = (key: { readonly secret: boolean }, value: unknown): string =>
  key.secret ? "something else (it is a secret, so it is not shown)" : showBriefly(value)
