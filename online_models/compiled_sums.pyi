from online_models.plain_sums import Coordinate as Coordinate
from online_models.plain_sums import move as move
from online_models.plain_sums import score_named as score_named
from online_models.plain_sums import sigmoid as sigmoid
from online_models.plain_sums import sum_up as sum_up
