/** Jobs of an order that could not be charged: what they get is how the jobs of the order ended. */

export const tellSupport = ({ correlationId, payload: [charge] }) => `${correlationId}: ${charge.error}`
