const isObject = (value: unknown): value is object => typeof value === "object" && value !== null

/** What a failure holds that is nearer to its cause: of several addresses that failed, the first one's. */
const inner = (error: object): unknown => {
  if ("errors" in error && Array.isArray(error.errors) && error.errors.length > 0) return error.errors[0]
  if ("cause" in error && error.cause !== undefined) return error.cause
  return "reason" in error ? error.reason : undefined
}

/**
 * The innermost cause of a failed request, with its code: `connect ECONNREFUSED 127.0.0.1:9`,
 * `DEPTH_ZERO_SELF_SIGNED_CERT: self-signed certificate`. What libraries wrap around it says only that there was one, and
 * may repeat the address with what it holds.
 */
export const innermostCause = (failure: unknown): string => {
  let found: object | undefined
  let next = failure
  for (let depth = 0; depth < 10 && isObject(next); depth++) {
    found = next
    next = inner(found)
  }
  if (found === undefined) return typeof failure === "string" ? failure : "unknown"
  const message = "message" in found && typeof found.message === "string" ? found.message : ""
  const code = "code" in found && typeof found.code === "string" ? found.code : ""
  if (message === "") return code === "" ? "unknown" : code
  return code === "" || message.includes(code) ? message : `${code}: ${message}`
}
