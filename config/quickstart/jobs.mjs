/** Jobs of the quick start: each export is one, all run at the same time, each is reported in the reply. */

/** @param {{ event: string, key?: string, payload: { id: string, amount: number } }} input */
export const notifySales = ({ event, key, payload }) => `${event}: told sales about order ${payload.id} of ${key}`

export const archive = async ({ payload }) => {
  await new Promise((resolve) => setTimeout(resolve, 50))
  return { archived: payload.id }
}
