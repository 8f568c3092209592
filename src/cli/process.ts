const codes = { SIGINT: 130, SIGTERM: 143 } as const

/** The first SIGINT or SIGTERM ends the program in order (`runMain` interrupts it), the second one at once. */
export const endOnSecondSignal = (): void => {
  let asked = false
  for (const signal of ["SIGINT", "SIGTERM"] as const) {
    process.on(signal, () => {
      if (asked) process.exit(codes[signal])
      asked = true
    })
  }
}

/** A reader of our output that leaves (`| head`) is told by the write itself, not by an uncaught error. */
export const tolerateBrokenPipe = (): void => {
  for (const stream of [process.stdout, process.stderr]) stream.on("error", () => {})
}
