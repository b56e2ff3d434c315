/** Asks a worker that stands still where it stands. */
import { Session } from "node:inspector"
import { whereExpression } from "./StallWatchMarks.ts"

/** Units: milliseconds. Code that cannot be interrupted gives no answer. */
const graceMillis = 1_000

/** The worker's stack; undefined where it does not answer, or Node has no inspector. */
export const stackOf = (threadId: number): Promise<string | undefined> =>
  new Promise((resolve) => {
    let session: Session | undefined
    const end = (stack: string | undefined) => {
      clearTimeout(timer)
      const open = session
      session = undefined
      open?.disconnect()
      resolve(stack)
    }
    const timer = setTimeout(() => end(undefined), graceMillis)
    try {
      session = new Session()
      session.connect()
      session.on("NodeWorker.attachedToWorker", ({ params: { sessionId, workerInfo } }) => {
        // The id there is the inspector's own.
        if (!workerInfo.title.startsWith(`[worker ${threadId}]`)) return
        const message = {
          id: 1,
          method: "Runtime.evaluate",
          params: { expression: whereExpression, returnByValue: true }
        }
        session?.post("NodeWorker.sendMessageToWorker", { sessionId, message: JSON.stringify(message) })
      })
      session.on("NodeWorker.receivedMessageFromWorker", ({ params: { message } }) => {
        const answer = JSON.parse(message) as { id?: number; result?: { result?: { value?: unknown } } }
        if (answer.id !== 1) return
        const value = answer.result?.result?.value
        // Not within the session's own event, which would end while it is told of it.
        setImmediate(end, typeof value === "string" ? value : undefined)
      })
      session.post("NodeWorker.enable", { waitForDebuggerOnStart: false }, (error) => {
        if (error !== null) end(undefined)
      })
    } catch {
      end(undefined)
    }
  })
