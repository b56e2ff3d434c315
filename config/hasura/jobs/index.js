const { jobSimulator } = require('sluice/hasura');
const { publishEventLog } = require('./publishEventLog');
const { rerunAR } = require('./rerunAR');

module.exports = { jobSimulator, publishEventLog, rerunAR };
