from online_models.plain_timers import Timers as Timers
