/** Not a proxy: a process with nothing to do, to see what the machine itself does to an event loop. */
setInterval(() => {}, 60_000)
process.on("SIGTERM", () => process.exit(0))
