/** Ends the servers of tests with the process that started them. */
import { type ChildProcess, spawn } from "node:child_process"

export type Guard = ReturnType<typeof guarded>

/** Kills the processes added and deletes the folder when this process is gone, however it went: its end of the pipe is closed then. */
export const guarded = (folder = "") => {
  const script = 'while read -r line; do pids=$line; done; kill -9 $pids; rm -rf "$1"'
  const shell = spawn("sh", ["-c", script, "sh", folder], { detached: true, stdio: ["pipe", "ignore", "ignore"] })
  shell.stdin.on("error", () => {})
  const pids = new Set<number>()
  const tell = () => shell.stdin.writable && shell.stdin.write(`${[...pids].join(" ")}\n`)
  return {
    add: (child: ChildProcess) => {
      pids.add(child.pid!)
      tell()
      child.once("exit", () => {
        pids.delete(child.pid!)
        tell()
      })
    },
    release: () => shell.stdin.end()
  }
}
