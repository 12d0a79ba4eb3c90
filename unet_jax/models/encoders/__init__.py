"""Networks known from image classification, as the contracting path of a grid."""
