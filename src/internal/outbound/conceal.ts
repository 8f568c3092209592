/** Shorter ones are in any sentence by chance. Characters. */
const shortest = 4

/** The values of headers as somebody may repeat them: whole, or without their scheme (`Bearer …`). */
export const headerSecrets = (headers: Readonly<Record<string, string>>): ReadonlyArray<string> =>
  Object.values(headers).flatMap((value) => {
    const bare = /^\S+\s+(\S.*)$/.exec(value)?.[1]
    return bare === undefined ? [value] : [value, bare]
  })

/** Takes secrets out of words that somebody else chose: a service that refuses a token may repeat it. */
export const conceal = (words: string, secrets: ReadonlyArray<string>): string =>
  secrets.reduce((text, secret) => secret.length < shortest ? text : text.replaceAll(secret, "***"), words)

/** A stranger's words on one line and without control characters, at most `limit` characters, secrets taken out. */
export const foreignWords = (text: string, limit: number, secrets: ReadonlyArray<string>): string =>
  conceal(text.replaceAll(/[\s\p{Cc}]+/gu, " ").trim(), secrets).slice(0, limit).toWellFormed()
