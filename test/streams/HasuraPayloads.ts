/** Payloads as Hasura's documentation and server have them, for tests. */

/** Source: https://hasura.io/docs/latest/event-triggers/payload/ */
export const insert = {
  event: {
    session_variables: {
      "x-hasura-role": "admin",
      "x-hasura-allowed-roles": "['user', 'boo', 'admin']",
      "x-hasura-user-id": "1"
    },
    op: "INSERT",
    data: { old: null, new: { id: "42", name: "john doe" } },
    trace_context: { trace_id: "501c2a7ba3e1f1ab", span_id: "e1d5b5e0c6e5b0a4" }
  },
  created_at: "2018-09-05T07:14:21.601701Z",
  id: "85558393-c75d-4d2f-9c15-e80591b83894",
  delivery_info: { max_retries: 3, current_retry: 0 },
  trigger: { name: "insert_user_trigger" },
  table: { schema: "public", name: "users" }
}

const of = (op: string, old: unknown, current: unknown) => ({
  ...insert,
  event: { ...insert.event, op, data: { old, new: current } }
})

export const update = of("UPDATE", { id: "42", name: "john doe" }, { id: "42", name: "jane doe" })
/** Where the primary key was changed. */
export const updateMssql = of("UPDATE", null, { id: "43", name: "john doe" })
export const remove = of("DELETE", { id: "42", name: "john doe" }, null)
export const manual = of("MANUAL", null, { id: "42", name: "john doe" })

/** As version 1 sent it, and for a change that nobody's session made. */
export const withoutSession = {
  event: { session_variables: null, op: "INSERT", data: insert.event.data },
  created_at: insert.created_at,
  id: insert.id,
  trigger: insert.trigger,
  table: insert.table
}

/** Source: https://hasura.io/docs/latest/scheduled-triggers/create-cron-trigger/ */
export const cron = {
  scheduled_time: "2020-07-22T22:00:00Z",
  payload: { key1: "value1", key2: "value2" },
  created_at: "2020-07-22T21:00:00.123456Z",
  id: "3d9ff8ec-f4bd-4ef4-ae0c-9b0ac1c7f4d4",
  name: "eod_reports",
  comment: "sample_cron comment"
}

/** Source: https://hasura.io/docs/latest/scheduled-triggers/create-one-off-scheduled-event/ */
export const oneOff = {
  scheduled_time: "2022-06-18T18:45:00Z",
  payload: { email: "bob@ross.com" },
  created_at: "2022-06-01T10:00:00.000000Z",
  id: "f4bd3d9f-f8ec-4ef4-ae0c-9b0ac1c7f4d5",
  comment: null
}

export const all = { insert, update, updateMssql, remove, manual, withoutSession, cron, oneOff }
