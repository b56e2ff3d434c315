module.exports = {
  publishEventLog: async (event, hasuraEvent, options) => {
    return `Wrote event log for ${event}`;
  },
};
