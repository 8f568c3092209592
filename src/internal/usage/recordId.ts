const hex = Array.from({ length: 256 }, (_, byte) => byte.toString(16).padStart(2, "0"))

const digits = (value: number, bytes: number): string => {
  let text = ""
  for (let shift = bytes - 1; shift >= 0; shift--) {
    text += hex[Math.floor(value / 2 ** (8 * shift)) & 0xff]
  }
  return text
}

/**
 * Mints UUIDv7 (RFC 9562 §5.7): 48 bits of time, then 12 bits that count within a millisecond (method 1), then 62 random
 * bits. Ids of one maker sort in the order they were made, also when the clock goes back.
 *
 * @param random uniform in [0, 1)
 */
export const makeRecordIds = (random: () => number): (millis: number) => string => {
  let last = -1
  let count = 0
  let prefix = ""
  return (millis) => {
    if (millis > last) {
      last = millis
      count = Math.floor(random() * 0x400)
      const time = digits(last, 6)
      prefix = `${time.slice(0, 8)}-${time.slice(8)}-7`
    } else if (++count > 0xfff) {
      last++
      count = 0
      const time = digits(last, 6)
      prefix = `${time.slice(0, 8)}-${time.slice(8)}-7`
    }
    const high = Math.floor(random() * 0x4000) | 0x8000
    const low = digits(Math.floor(random() * 0x1_0000_0000), 4)
    const tail = digits(Math.floor(random() * 0x1_0000), 2)
    return `${prefix}${hex[count >> 8]?.[1]}${hex[count & 0xff]}-${hex[high >> 8]}${hex[high & 0xff]}-${tail}${low}`
  }
}
