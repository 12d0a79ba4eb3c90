"""Networks known from image classification, used as the contracting path of a grid."""
