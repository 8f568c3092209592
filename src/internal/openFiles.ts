/** Whether a call failed because the process, or the machine, has as many files open as it may. */
export const isOutOfFiles = (code: string | undefined): boolean => code === "EMFILE" || code === "ENFILE"

/** What is wrong then, and what helps. */
export const OUT_OF_FILES = "too many files are open: raise the limit (ulimit -n; LimitNOFILE= in a systemd unit)"
