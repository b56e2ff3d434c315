/** Jobs of an order: each export is one; all run at the same time, and none stops another. */

/** The last order whose charge was tried. */
let last

/** Fails now and then, as payment services do; `retries` of the config tries it again. */
export const charge = async ({ payload, signal }) => {
  const n = Number(payload.n)
  const isFirst = last !== n
  last = n
  await pause(20, signal)
  // What no retry helps says so.
  if (n % 5 === 0) throw Object.assign(new Error(`${payload.id}: the card was declined`), { retryable: false })
  if (n % 3 !== 0 && isFirst) throw new Error("the payment service is busy")
  return { charged: payload.id }
}

/** At most two mails under way, and ten a second: that is for the config to say. */
export const sendMail = async ({ correlationId, payload, signal }) => {
  await pause(50, signal)
  return { to: payload.customer, messageId: `<${correlationId}@example.com>` }
}

/** What need not wait just returns. */
export const reserveStock = ({ payload }) => ({ reserved: payload.id })

/** Ends early when the job's time is up. */
const pause = (millis, signal) =>
  new Promise((resolve, reject) => {
    const timer = setTimeout(resolve, millis)
    signal.addEventListener("abort", () => {
      clearTimeout(timer)
      reject(signal.reason)
    })
  })
