module.exports = {
  rerunAR: async (event, hasuraEvent, options) => {
    console.log(`Rerunning AR for move ${options?.moveId}`);
    return 'You ran AR';
  },
};
