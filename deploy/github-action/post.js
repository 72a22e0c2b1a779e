// The last step of the job: actions end in the reverse order of their beginning.
'use strict';
const martlet = require('./martlet.js');
const { end, judge } = require('./end.js');

martlet.main(() => {
  // Otherwise it was not we who started an agent.
  if (process.env.STATE_started !== 'true') return;
  judge(end());
});
